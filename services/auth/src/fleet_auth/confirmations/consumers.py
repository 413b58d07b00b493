"""Sends the mail behind a confirmation when its row is due: at once, and again with growing pauses until it is taken."""

from uuid import UUID

from fleet_bus import Due, DueKind
from fleet_chassis.logging import get_logger

from fleet_auth.domain import hash_token
from fleet_auth.mail import Mailer, MailRefused
from fleet_auth.mailing import mail_kind
from fleet_auth.store import PostgresUnitOfWork
from fleet_auth.tokens import new_secret

from .domain import Purpose
from .store import SEND_CONFIRMATION, Confirmations

log = get_logger(__name__)


def send_confirmations(mailer: Mailer, url: str) -> DueKind:
    """`url` is the gateway's, as the reader of a mail knows it."""

    async def send(uow: PostgresUnitOfWork, due: Due) -> None:
        confirmations = Confirmations(uow.tx)
        confirmation = await confirmations.get(UUID(due.aggregate_id))
        if confirmation is None or confirmation.expires_at <= uow.now:
            log.warning("confirmation_not_sent_in_time", confirmation_id=due.aggregate_id)
            return
        is_known = await uow.credentials(confirmation.email) is not None
        try:
            if is_known is (confirmation.purpose is Purpose.PASSWORD_RESET):
                token = new_secret()
                await confirmations.set_token(confirmation.confirmation_id, hash_token(token))
                await mailer.send(confirmation.mail(url, token))
            elif is_known:
                await mailer.send(confirmation.mail_to_owner(url))
        except MailRefused as refused:
            log.warning("mail_refused", confirmation_id=due.aggregate_id, reason=str(refused))

    return mail_kind(SEND_CONFIRMATION, send)
