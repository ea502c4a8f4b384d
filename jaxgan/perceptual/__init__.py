"""Pretrained networks whose features tell images apart."""
