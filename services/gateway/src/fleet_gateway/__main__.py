"""`python -m fleet_gateway`"""

from fleet_chassis.server import serve

from .app import create_app, uvicorn_options
from .settings import GatewaySettings

serve(create_app, GatewaySettings, uvicorn_options)
