"""The daemon `idlehands serve`, its workers, and the control socket. The only room that knows every part."""
