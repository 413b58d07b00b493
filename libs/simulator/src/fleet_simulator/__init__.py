"""The one fill path: matching, fees and price protection in integers. Pure, no I/O."""
