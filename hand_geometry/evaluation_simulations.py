"""What the commands of ``canteen-evaluate`` about drawn people, growth, readers and attacks do and say."""

from __future__ import annotations

import argparse

from hand_geometry.errors import TrialsError
from hand_geometry.evaluation_answers import EXIT_OK, estimated, nobody_to_measure, percent, ready_for, say, sets_of
from hand_geometry.language import N_, _, number

_GROUPS = {"length": N_("longueurs"), "width": N_("largeurs"), "bend": N_("courbures"), "valley": N_("creux")}


def synthetic(arguments: argparse.Namespace) -> int:
    from hand_geometry.sample_distances import chance_level, distances, fit_spread, measured_people, person_means
    from hand_geometry.synthetic_people import draw_person

    real = sets_of(arguments.sets)[0].labelled()
    if len(real.people) < 2:
        raise nobody_to_measure()
    if arguments.fit:
        fit_spread(real)
    values, failed = measured_people(draw_person, arguments.people)
    if not len(values):
        raise TrialsError(_("aucune personne de synthèse n’a pu être mesurée"))
    say(
        _("{real} vraies personnes, {drawn} de synthèse mesurées, {failed} non mesurées").format(
            real=len(real.people), drawn=len(values), failed=failed
        )
    )
    level = number(f"{chance_level(len(real.people), len(values)):.2f}")
    say(
        _("distances de Kolmogorov-Smirnov ; sous {level} c’est le hasard ; ce n’est pas une exactitude").format(
            level=level
        )
    )
    for one in distances(person_means(real), values):
        say(
            _("{group:10s} médiane {median}  la plus grande {largest}  au-delà du hasard {beyond}").format(
                group=_(_GROUPS[one.group]),
                median=number(f"{one.median:.2f}"),
                largest=number(f"{one.largest:.2f}"),
                beyond=percent(one.beyond_chance, 0),
            )
        )
    return EXIT_OK


def attacks(arguments: argparse.Namespace) -> int:
    from hand_geometry.presentation_attacks import KINDS, attack_set, simulate_attacks

    say(_("construit à partir d’images ; ce qui est fait de vraies choses peut réussir plus ou moins bien"))
    if arguments.folder:
        tables = {_("sur ce dossier, sans miroir latéral"): attack_set(arguments.folder, arguments.people)}
    else:
        readers = {"without": (False,), "with": (True,), "both": (False, True)}[arguments.mirror]
        tables = {
            _("avec un miroir latéral") if mirror else _("sans miroir latéral"): simulate_attacks(
                arguments.people, mirror=mirror
            )
            for mirror in readers
        }
    head = (_("sorte"), _("présentées"), _("mesurées"), _("acceptées à 0,1 %"))
    for title, found in tables.items():
        if not any(one.presented for one in found):
            raise nobody_to_measure()
        say(f"{title}\n{head[0]:42s}{head[1]:>11s}{head[2]:>10s}  {head[3]}")
        for one in found:
            say(
                f"{_(KINDS[one.kind]):42s}{one.presented:11d}{one.measured:10d}  {one.accepted}, "
                f"{estimated(one.estimate)}"
            )
    return EXIT_OK


def heights(arguments: argparse.Namespace) -> int:
    from hand_geometry.height_profile import LEAST_RISE
    from hand_geometry.height_simulation import DRAWN_PEOPLE, drawn_rises, fit_heights

    ready_for(arguments.out)
    found = fit_heights(arguments.people, arguments.out)
    rises = drawn_rises(DRAWN_PEOPLE)
    values = {
        "people": found.people,
        "placements": found.placements,
        "failures": found.failures,
        "even": found.even,
        "least": number(f"{found.least_rise:.2f}"),
        "drawn_even": int((rises < LEAST_RISE).sum()),
        "drawn": len(rises),
        "drawn_least": number(f"{rises.min():.2f}"),
        "right": percent(found.right_hands_charged, 1),
        "strangers": percent(found.strangers_charged, 1),
        "median": number(f"{found.strangers_median:.1f}"),
    }
    for sentence in (
        N_(
            "personnes simulées dans un miroir latéral simulé ; aucun dossier de vraies mains ne montre un profil : ce "
            "n’est pas une exactitude"
        ),
        N_("{people} personnes, {placements} placements mesurés, {failures} non mesurés"),
        N_("{even} refusés parce que partout aussi hauts ; des autres, la montée est d’au moins {least} fois"),
        N_("vus droit de côté : {drawn_even} sur {drawn} placements dessinés ; montée d’au moins {drawn_least} fois"),
        N_("quelque chose s’ajoute au score de {right} des bonnes mains et de {strangers} des inconnus"),
        N_("pour la moitié des inconnus, au moins {median}, en unités d’un logarithme de rapport de vraisemblance"),
    ):
        say(_(sentence).format(**values))
    return EXIT_OK


def growth(arguments: argparse.Namespace) -> int:
    from hand_geometry.growth_simulation import simulate_school_year

    say(
        _(
            "année scolaire simulée, de 11 à 15 ans, trois passages par semaine, premiers essais, un inconnu sur mille "
            "; les personnes et leur croissance sont dessinées : ce n’est pas une exactitude"
        )
    )
    for updates in (True, False):
        year = simulate_school_year(arguments.children, updates=updates, seed=arguments.seed)
        values = {
            "children": year.children,
            "passes": year.passes,
            "start": estimated(year.start),
            "end": estimated(year.end),
            "ratio": number(f"{year.ratio.value:.2f} [{year.ratio.low:.2f}, {year.ratio.high:.2f}]"),
            "updates": f"{year.updates:.0f}",
            "refused": percent(year.refused),
            "invited": percent(year.invited, 1),
            "rejected": percent(year.rejected, 1),
            "first": percent(year.invited_first, 0) if year.invited_first is not None else "–",
            "strangers": percent(year.stranger_rate, 3),
        }
        title = (
            N_("avec mises à jour : {children} enfants, {passes} passages")
            if updates
            else N_("sans mises à jour : {children} enfants, {passes} passages")
        )
        say(_(title).format(**values))
        for sentence in (
            N_("rejets, quatre premières et quatre dernières semaines : {start}, {end} (× {ratio})"),
            N_("mises à jour par enfant : {updates} ; refusées, au-delà de la croissance : {refused}"),
            N_("enfants invités à s’enrôler à nouveau : {invited}"),
            N_("enfants rejetés trois fois de suite : {rejected}, dont invités avant : {first}"),
            N_("inconnus acceptés en juin : {strangers}"),
        ):
            say(f"  {_(sentence).format(**values)}")
    return EXIT_OK


def readers(arguments: argparse.Namespace) -> int:
    from hand_geometry.reader_interoperability import exchange_readers

    found = exchange_readers(arguments.people)
    say(
        _(
            "personnes simulées sur deux lecteurs simulés, étalonnés par la feuille et la cale : le rapport compte, ce "
            "n’est pas un taux"
        )
    )
    say(
        _("{people} personnes, {refused} de plus n’ont pu être enrôlées sur les deux lecteurs").format(
            people=found.people, refused=found.not_enrolled
        )
    )
    say(_("rejetés sur le même lecteur, sur l’autre ; rapport, intervalle à 95 % par rééchantillonnage des personnes"))
    for row in found.strict:
        values = [number(f"{one:.2f}") for one in (row.ratio.value, row.ratio.low, row.ratio.high)]
        ratio = _("{rate} [{low} ; {high}]").format(rate=values[0], low=values[1], high=values[2])
        say(f"{percent(row.same)}, {percent(row.across)}   {ratio}")
    for policy, row in found.in_use.items():
        say(
            _("au seuil de {rate} : {same} sur le même lecteur, {across} sur l’autre").format(
                rate=number(f"{100 * policy.false_match_rate:g} %"),
                same=percent(row.same),
                across=percent(row.across),
            )
        )
    say(
        _("sans étalonnage, {share} sont rejetés sur l’autre au seuil de 0,1 %").format(
            share=percent(found.uncalibrated, 1)
        )
    )
    return EXIT_OK
