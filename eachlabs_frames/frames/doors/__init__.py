"""The methods of ``df.eachlabs``, grouped by purpose. The classes hold nothing but the frame and contain no logic."""
