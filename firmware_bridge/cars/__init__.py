"""Cars that come with the bridge: a DBC and the table from its signals to VSS names, each a pair of files."""
