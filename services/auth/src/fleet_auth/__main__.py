"""`python -m fleet_auth`"""

from fleet_chassis.server import serve

from .app import create_app
from .settings import AuthSettings

serve(create_app, AuthSettings)
