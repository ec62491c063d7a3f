"""RFB (VNC): any VNC server as a desktop, without anything installed on it."""
