"""The studio: Limner in a browser, and the same over HTTP. It needs the extra `studio`; nothing leaves the machine."""
