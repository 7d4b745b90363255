"""The matrix: results by two columns of the frame."""
