"""Settings of the methods, one file each beside the method's own: what its command line and its recipe need, no torch.

A file holds ``TITLE`` (the name in tables), ``LEARNS_FROM_LABELS``, ``RECIPE`` (where the source differs from the
suite's defaults) and the dataclass ``Config``. It may hold ``TAKES_VIEWS = (fewest, most)``, if that is not two (most
is None where there is no limit), ``MASKS_PATCHES = True`` for a masked auto-encoder, and ``check(config, batch_size)``,
which raises UserError for settings that do not go together.
"""
