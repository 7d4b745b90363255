"""The methods of ``df.eachlabs``: their signatures and documentation. They hold the frame and no logic."""
