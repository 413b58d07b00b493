"""Sends the mail of a notice when its row is due: at once, and again with growing pauses until it is taken."""

from uuid import UUID

from fleet_bus import Due, DueKind
from fleet_chassis.logging import get_logger

from fleet_auth.mail import Mailer, MailRefused
from fleet_auth.mailing import mail_kind
from fleet_auth.store import PostgresUnitOfWork

from .domain import WORTH_TELLING
from .store import SEND_NOTICE, take

log = get_logger(__name__)


def send_notices(mailer: Mailer, url: str) -> DueKind:
    """`url` is the gateway's, as the reader of a mail knows it."""

    async def send(uow: PostgresUnitOfWork, due: Due) -> None:
        notice = await take(uow.tx, UUID(due.aggregate_id))
        user = None if notice is None else await uow.user(notice.user_id)
        if notice is None or user is None:
            return
        if uow.now - notice.noticed_at > WORTH_TELLING:
            log.warning("notice_not_sent_in_time", user_id=str(user.user_id), notice=notice.event.name)
            return
        try:
            await mailer.send(notice.mail(user.email, url))
        except MailRefused as refused:
            log.warning("mail_refused", user_id=str(user.user_id), reason=str(refused))

    return mail_kind(SEND_NOTICE, send)
