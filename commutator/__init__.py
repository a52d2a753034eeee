"""The condition and its use: fields, commutators, transport, selection, guidance, the plan and the tape."""
