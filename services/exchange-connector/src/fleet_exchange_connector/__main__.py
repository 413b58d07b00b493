"""`python -m fleet_exchange_connector`."""

from fleet_chassis.server import serve

from fleet_exchange_connector.app import create_app
from fleet_exchange_connector.settings import Settings

serve(create_app, Settings)
