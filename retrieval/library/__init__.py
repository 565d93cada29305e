"""The music library on disk: scanning, metadata, playlists."""
