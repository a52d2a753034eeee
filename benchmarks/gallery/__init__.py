"""The operators on pictures, on noise and under the embedded model: what the pages in docs/operators/ show."""
