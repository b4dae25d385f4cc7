"""From bytes to verified facts, without torch, numpy or Pillow."""
