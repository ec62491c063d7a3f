"""systemd units, users and folders of an installation, as files that `idlehands install` fills in."""
