"""Emu3: visual tokens decoded one by one over a static cache of keys and values, and pictures made of them."""
