"""The decisions of data: what an instrument is, which bars are new, when a quote is sent, how candles are made."""
