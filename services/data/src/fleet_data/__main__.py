"""`python -m fleet_data` runs the service."""

from fleet_chassis.server import serve

from .app import create_app
from .settings import Settings

serve(create_app, Settings)
