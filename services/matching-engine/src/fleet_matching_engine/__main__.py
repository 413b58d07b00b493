"""`python -m fleet_matching_engine`."""

from fleet_chassis.server import serve

from fleet_matching_engine.app import create_app
from fleet_matching_engine.settings import Settings

serve(create_app, Settings)
