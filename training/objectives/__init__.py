"""Objectives as pure functions of similarities and temperatures."""
