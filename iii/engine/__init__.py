"""The engine core: registries, invocations, channels, modules.  No sockets in here."""
