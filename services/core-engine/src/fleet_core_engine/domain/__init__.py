"""The decisions of core-engine: which bars are released, which signals become orders."""
