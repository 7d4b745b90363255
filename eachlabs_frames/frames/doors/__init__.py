"""The rooms of ``df.eachlabs``, by what its methods do. They keep no state, and each method is one line of steps."""
