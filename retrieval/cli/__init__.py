"""The command `retrieve`: one file a command group; each command parses, makes one call and prints."""
