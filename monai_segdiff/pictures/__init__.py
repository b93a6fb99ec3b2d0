"""Images and label maps as pictures."""

__all__: list[str] = []
