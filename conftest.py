"""Every test session of the checkout shares one real stack: see libs/testkit."""

pytest_plugins = ["fleet_testkit.fixtures"]
