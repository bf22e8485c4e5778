"""The dashboard's server: the run store over HTTP, live, for the page and for whoever writes a program against it."""
