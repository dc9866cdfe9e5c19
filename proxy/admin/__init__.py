"""What the guard does and has done, to be seen over HTTP."""
