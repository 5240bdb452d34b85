"""The evaluation of one folder as a single page of HTML: text, tables and drawings, nothing fetched from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum

from hand_geometry.language import number_in, words_in
from hand_geometry.performance import Estimate, rule_of_three
from hand_geometry.report_plots import GENUINE_COLOUR, SECOND_COLOUR, Curve, det_plot, histogram_plot
from hand_geometry.set_evaluation import DET_RATES, SetEvaluation, WrongPair
from hand_geometry.spoken_names import name_of

Words = Callable[[str], str]

_STYLE = """
:root{--ink:#1d2521;--soft:#5b675f;--line:#d5dcd7;--paper:#fbfcfa;--tint:#eef3ef}
@media screen and (prefers-color-scheme:dark){
:root{color-scheme:dark;--ink:#e4ebe6;--soft:#a3b0a8;--line:#3a443e;--paper:#171c19;--tint:#212925}}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:0 auto;
padding:2rem 1.2rem 4rem}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .3rem}h2{font-size:1.2rem;margin:2.4rem 0 .6rem}
p{max-width:46rem}.soft{color:var(--soft);font-size:.92rem}
.note{background:var(--tint);border-left:4px solid #1b6e53;padding:.7rem 1rem;margin:1rem 0;max-width:46rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(12rem,1fr));gap:.8rem;margin:1.4rem 0}
.figures div{background:var(--tint);border-radius:.5rem;padding:.8rem 1rem}
.figures b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.94rem}
.scroll{margin:.6rem 0 1rem}
th,td{text-align:left;padding:.4rem .9rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:not(:first-child){white-space:nowrap}th{font-weight:600}
svg{width:100%;min-width:34rem;max-width:46rem;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
.grid{stroke:var(--line)}.diagonal{stroke:var(--soft);stroke-dasharray:4 4}.mark{stroke:var(--ink);stroke-dasharray:3 3}
"""


class _Page:
    """The words of one language and how it writes rates."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.words: Words = words_in(language)

    def say(self, sentence: str, **values: object) -> str:
        """The sentence in the page's language, escaped."""
        return html.escape(self.words(sentence).format(**values))

    def name(self, value: StrEnum) -> str:
        """What a value is called."""
        return name_of(value, self.language)

    def rate(self, rate: float) -> str:
        """A rate as a percentage."""
        return "\u2013" if math.isnan(rate) else self.number(f"{100 * rate:.2f} %")

    def share(self, rate: float) -> str:
        """A round rate: 1 %, 0,1 %."""
        return self.number(f"{100 * rate:g} %")

    def number(self, text: str) -> str:
        """A number, with its percent sign or without, as the language writes it."""
        return number_in(self.language, text)

    def interval(self, estimate: Estimate, people: int) -> str:
        """A rate with its interval; where nothing was seen, what so few people allow."""
        if math.isnan(estimate.value):
            return "\u2013"
        if estimate.high == 0.0:
            limit = self.rate(rule_of_three(people))
            return f"{self.rate(0.0)} <span class=soft>[0 \u2013 {limit}]*</span>"
        low, high = self.rate(estimate.low), self.rate(estimate.high)
        return f"{self.rate(estimate.value)} <span class=soft>[{low} \u2013 {high}]</span>"

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """A table; its cells are HTML already."""
        top = "".join(f'<th scope="col">{self.say(one)}</th>' for one in head)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
        return _wide(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>")


def _wide(content: str) -> str:
    """What is wider than a telephone scrolls in its place, by keyboard too."""
    return f'<div class="scroll" tabindex="0">{content}</div>'


def report_page(found: SetEvaluation, *, language: str, written: datetime) -> str:
    """The whole page."""
    page = _Page(language)
    title = page.say("Évaluation biométrique : {name}", name=found.name)
    parts = [
        f"<h1>{title}</h1>",
        "<p class=soft>"
        + page.say(
            "Selon ISO/IEC 19795-1, évaluation technologique hors ligne. Établi le {date}.",
            date=f"{written:%d/%m/%Y}" if language == "fr" else f"{written:%Y-%m-%d}",
        )
        + "</p>",
        _headline(page, found),
        *_protocol(page, found),
        *_acquisition(page, found),
        *_rates(page, found),
        *_plots(page, found),
        *_wrong(page, found),
        *_limits(page),
    ]
    return (
        f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _headline(page: _Page, found: SetEvaluation) -> str:
    people = found.people_with_trials
    at = found.rates[1]
    figures = [
        (str(found.subjects), page.say("personnes (mains), {images} images", images=found.images)),
        (page.rate(found.equal_error.value), page.say("taux d'égale erreur")),
        (page.rate(at.one_try.value), page.say("faux rejets (FNMR) au FMR de 0,1 %")),
        (page.rate(sum(found.failures.values()) / found.images), page.say("échecs d'acquisition")),
    ]
    boxes = "".join(f"<div><b>{value}</b>{name}</div>" for value, name in figures)
    interval = page.interval(found.equal_error, people)
    named = page.say("Taux d'égale erreur, intervalle à 95 % :")
    return f'<div class="figures">{boxes}</div><p>{named} {interval}</p>'


def _protocol(page: _Page, found: SetEvaluation) -> list[str]:
    if found.held_out:
        split = page.say(
            "Sujets séparés : les nombres appris le sont sur une moitié des personnes, les taux mesurés sur l'autre, "
            "dans "
            "les deux sens, pour {folds} plis. Aucune personne testée n'a servi à apprendre. Les seuils et les "
            "intervalles sont "
            "propres à chaque pli ; les taux sont leur moyenne.",
            folds=found.folds,
        )
    else:
        split = page.say(
            "Trop peu de personnes pour apprendre et mesurer séparément : ce sont les nombres livrés avec le "
            "programme qui "
            "comparent. Si ces images ont servi à les apprendre, les taux sont trop beaux."
        )
    trial = page.say(
        "Chaque image est une fois la sonde ; les {enrolled} premières autres images de la personne font la référence "
        "; "
        "toutes les images de toutes les autres personnes sont des imposteurs (sans effort). Une image non mesurée "
        "compte comme un rejet.",
        enrolled=found.enrolled,
    )
    ground = page.say(
        "Support : {platen} ; pose : {posture}.", platen=page.name(found.platen), posture=page.name(found.posture)
    )
    count = page.say(
        "{genuine} comparaisons authentiques de {people} personnes, {impostor} d'imposteurs, sur tous les plis.",
        genuine=found.genuine_trials,
        people=found.people_with_trials,
        impostor=found.impostor_trials,
    )
    return [f"<h2>{page.say('Protocole')}</h2>", *(f"<p>{one}</p>" for one in (split, trial, ground, count))]


def _acquisition(page: _Page, found: SetEvaluation) -> list[str]:
    failed, refused = sum(found.failures.values()), sum(found.failures_to_enroll.values())
    rows = [
        [page.say("échec d'acquisition (FTA)"), f"{failed} / {found.images}", page.rate(failed / found.images)],
        [
            page.say("échec d'enrôlement (FTE)"),
            f"{refused} / {found.enrolments}",
            page.rate(refused / found.enrolments if found.enrolments else math.nan),
        ],
    ]
    head = ["Échec", "Nombre", "Taux"]
    reasons = [(f"FTA \u00b7 {page.name(one)}", count) for one, count in found.failures.most_common()]
    reasons += [(f"FTE \u00b7 {page.name(one)}", count) for one, count in found.failures_to_enroll.most_common()]
    parts = [f"<h2>{page.say('Acquisition et enrôlement')}</h2>", page.table(head, rows)]
    if reasons:
        cells = [[html.escape(reason), str(count)] for reason, count in reasons]
        parts.append(page.table(["Raison", "Nombre"], cells))
    return parts


def _rates(page: _Page, found: SetEvaluation) -> list[str]:
    people, tried = found.people_with_trials, found.transaction_people
    measured = [[page.share(row.false_match_rate), page.interval(row.one_try, people)] for row in found.rates]
    fixed = [
        [
            page.share(row.false_match_rate),
            page.interval(row.rejects_at_threshold, people),
            page.interval(row.matches_at_threshold, people),
        ]
        for row in found.rates
    ]
    tries = [
        [
            page.share(row.false_match_rate),
            page.interval(row.one_of_three_tries, tried),
            page.interval(row.three_tries, tried),
            page.interval(row.three_tries_matches, tried),
        ]
        for row in found.rates
    ]
    smallest = found.folds / found.impostor_trials
    return [
        f"<h2>{page.say('Faux rejets à taux de fausses acceptations fixé (FNMR à FMR)')}</h2>",
        page.table(["FMR", "FNMR, un essai"], measured),
        "<p class=soft>"
        + page.say(
            "Intervalles à 95 % par rééchantillonnage des personnes. Un pli compte en moyenne une comparaison "
            "d'imposteur "
            "sur {share} : un FMR plus petit que cela est celui d'aucun imposteur accepté.",
            share=f"{1 / smallest:.0f}",
        )
        + "</p>",
        f"<h2>{page.say('Au seuil livré, fixé d’avance')}</h2>",
        page.table(["Seuil pour un FMR de", "Faux rejets", "Fausses acceptations"], fixed),
        f"<h2>{page.say('Un et trois essais')}</h2>",
        page.table(
            ["Seuil pour un FMR de", "Rejets, un essai", "Rejets, trois essais", "Acceptations, trois essais"], tries
        ),
        "<p class=soft>"
        + page.say(
            "Les trois dernières images d'une personne sont ses essais, les précédentes l'enrôlent : la référence "
            "tient "
            "souvent à une seule image, et les taux sont plus mauvais qu'avec {enrolled}. {people} personnes ont "
            "assez d'images.",
            enrolled=found.enrolled,
            people=found.transaction_people,
        )
        + "</p><p class=soft>"
        + page.say("* Aucune erreur vue : limite à 95 % par la règle de trois sur le nombre de personnes.")
        + "</p>",
    ]


def _plots(page: _Page, found: SetEvaluation) -> list[str]:
    words = page.words
    curves = [Curve(words("un essai"), found.det, GENUINE_COLOUR)]
    if found.transactions:
        curves.append(Curve(words("trois essais, moins d'images d'enrôlement"), found.det_three, SECOND_COLOUR))
    det = det_plot(
        DET_RATES,
        curves,
        (found.det_low, found.det_high),
        title=words("Courbe DET"),
        axes=(words("fausses acceptations (FMR)"), words("faux rejets (FNMR)")),
        written=page.number,
    )
    marks = [(math.log10(row.false_match_rate), page.share(row.false_match_rate)) for row in found.rates]
    histogram = histogram_plot(
        found.genuine,
        found.impostor,
        marks,
        title=words("Répartition des scores"),
        names=(words("authentiques"), words("imposteurs")),
        axes=(words("score : log10 de la part d'étrangers aussi proches (plus bas = plus proche)"), words("part")),
        written=page.number,
    )
    return [
        f"<h2>{page.say('Courbe DET')}</h2>{_wide(det)}",
        "<p class=soft>"
        + page.say("La bande est l'intervalle à 95 %. Un taux nul est dessiné sur le bord inférieur.")
        + "</p>",
        f"<h2>{page.say('Répartition des scores')}</h2>{_wide(histogram)}",
        "<p class=soft>"
        + page.say(
            "Au-delà d'un étranger sur mille, l'échelle est extrapolée : seul l'ordre y a un sens. La dernière barre "
            "compte aussi tous les scores plus grands."
        )
        + "</p>",
    ]


def _wrong(page: _Page, found: SetEvaluation) -> list[str]:
    def score(pair: WrongPair) -> str:
        return page.say("non mesurée") if math.isinf(pair.score) else page.number(f"{pair.score:.2f}")

    rejected = [[html.escape(pair.probe_file), score(pair)] for pair in found.rejected]
    accepted = [
        [html.escape(pair.reference_file), html.escape(pair.probe_file), score(pair)] for pair in found.accepted
    ]
    none = f"<p>{page.say('Aucune.')}</p>"
    return [
        f"<h2>{page.say('Les comparaisons qui ont échoué, au seuil de 0,1 %')}</h2>",
        f"<h3>{page.say('Mains rejetées à tort')}</h3>",
        page.table(["Image", "Score"], rejected) if rejected else none,
        f"<h3>{page.say('Étrangers acceptés à tort')}</h3>",
        page.table(["Une image du titulaire", "Image de l'étranger", "Score"], accepted) if accepted else none,
    ]


def _limits(page: _Page) -> list[str]:
    return [
        f"<h2>{page.say('Ce que ce rapport ne dit pas')}</h2>",
        '<p class="note">'
        + page.say(
            "Des mains de synthèse ne mesurent aucune exactitude : si ce dossier en contient, ces taux ne valent rien "
            "pour "
            "un restaurant. Même avec de vraies mains, c'est une mesure hors ligne : ni l'habitude, ni la hâte, ni la "
            "croissance des enfants, ni les présentations frauduleuses n'y sont."
        )
        + "</p>",
    ]
