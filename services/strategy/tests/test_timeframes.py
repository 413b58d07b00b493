"""Which timeframes a deployment may ask for: those whose steps the feed ends."""

from fleet_strategy.consumers import timeframes


def test_a_replay_names_its_timeframe_and_other_feeds_tell_minutes() -> None:
    assert timeframes("simulated") == ("1m",)
    assert timeframes("replay") == ("1m", "5m", "15m", "1h", "4h", "1d")
