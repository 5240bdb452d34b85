"""The language of a page: French as written, English from the catalogue; and dates as both write them."""

from __future__ import annotations

import gettext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from fastapi import Request

from billing_server.configuration import LANGUAGES

LANGUAGE_COOKIE = "canteen_language"

_LOCALE = Path(__file__).parent / "locale"


def N_(msgid: str) -> str:  # noqa: N802 - the name every extractor knows
    """Marks a sentence for the catalogue where it is not yet translated."""
    return msgid


_WEEKDAYS = (N_("lundi"), N_("mardi"), N_("mercredi"), N_("jeudi"), N_("vendredi"), N_("samedi"), N_("dimanche"))
_MONTHS = (
    N_("janvier"),
    N_("février"),
    N_("mars"),
    N_("avril"),
    N_("mai"),
    N_("juin"),
    N_("juillet"),
    N_("août"),
    N_("septembre"),
    N_("octobre"),
    N_("novembre"),
    N_("décembre"),
)

_JUST_NOW = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Text:
    """One reader's language and the school's time zone."""

    language: str
    timezone: str

    def __call__(self, msgid: str, **values: object) -> str:
        """The sentence in the reader's language; `{name}` in it stands for a value."""
        sentence = _catalogue(self.language).gettext(msgid)
        return sentence.format(**values) if values else sentence

    def several(self, one: str, many: str, number: int) -> str:
        """The sentence for `number` things, which stands for `{n}`."""
        # French says "0 repas servi"; without a French catalogue, gettext would use the plural.
        counted = max(number, 1) if self.language == "fr" else number
        return _catalogue(self.language).ngettext(one, many, counted).format(n=number)

    def day(self, day: date) -> str:
        """For example "lundi 23 novembre 2026"."""
        return f"{self(_WEEKDAYS[day.weekday()])} {day.day} {self(_MONTHS[day.month - 1])} {day.year}"

    def day_of_year(self, month: int, day: int) -> str:
        """For example "31 juillet"."""
        return f"{day} {self(_MONTHS[month - 1])}"

    def time(self, instant: datetime) -> str:
        """For example "12:04:31"."""
        return f"{instant.astimezone(ZoneInfo(self.timezone)):%H:%M:%S}"

    def moment(self, instant: datetime) -> str:
        """For example "23/11/2026 à 12:04"."""
        local = instant.astimezone(ZoneInfo(self.timezone))
        return self("{date} à {time}", date=f"{local:%d/%m/%Y}", time=f"{local:%H:%M}")

    def ago(self, instant: datetime, now: datetime) -> str:
        """For example "il y a 3 min"; the whole moment once it is an hour old."""
        passed = now - instant
        if passed < _JUST_NOW:
            return self("à l’instant")
        if passed < timedelta(minutes=1):
            return self("il y a {n} s", n=int(passed.total_seconds()))
        if passed < timedelta(hours=1):
            return self("il y a {n} min", n=int(passed.total_seconds() // 60))
        return self.moment(instant)

    def time_left(self, left: timedelta) -> str:
        """For example "encore 3 min environ"."""
        if left < timedelta(minutes=1):
            return self("encore moins d’une minute")
        if left < timedelta(minutes=90):
            return self("encore {n} min environ", n=round(left.total_seconds() / 60))
        return self("encore {n} h environ", n=round(left.total_seconds() / 3600))


def language_of(request: Request, default: str) -> str:
    """Asked for in the address, else remembered, else the browser's, else the school's."""
    for asked in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if asked in LANGUAGES:
            return asked
    for part in request.headers.get("accept-language", "").split(",")[:20]:
        wanted = part.split(";")[0].strip().lower()[:2]
        if wanted in LANGUAGES:
            return wanted
    return default


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("messages", localedir=_LOCALE, languages=[language], fallback=True)
