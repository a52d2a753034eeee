"""A recording of what the package computes, to prove that a change of its code moves no bit.

    python -m tests.recordings --write before.recording      # at the commit before
    python -m tests.recordings --compare before.recording    # after it, on the same machine

Bits are compared on one machine only. The committed recording (`files/outputs.recording`) is compared by
`test_recordings.py` within a tolerance, which also says how many results are equal bit for bit. `today.py` is the only
file here that uses the package's names; `files/v1` holds tapes, sheets and plans that version 0.1.0 wrote.
"""
