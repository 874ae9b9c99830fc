"""Files of TLS that were refused: they are tried again until they are taken, and an operator sees that they are not."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.reloading.renewal import AGAIN, BUSY, MOST_AGAIN, Renewal
from reusedproxy.operators.metrics.process import of_files
from reusedproxy.operators.stats.troubles import troubles
from reusedproxy.operators.view.reading import Reader
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, ServiceTestCase


class RenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.tried: list[tuple[list[str], str]] = []
        self.busy = False
        self.renewal = Renewal(self.clock, self.renew)

    def renew(self, files: list[str], word: str) -> bool:
        if not self.busy:
            self.tried.append((files, word))
        return not self.busy

    def test_all_that_was_refused_is_tried_at_growing_intervals(self) -> None:
        pause = self.renewal.was_refused(["a"], "crl-url")
        self.assertEqual(pause, AGAIN)
        self.renewal.was_refused(["b"], "ssl-watch")
        self.clock.advance(2 * AGAIN)
        self.assertEqual(self.tried, [(["a", "b"], "ssl-watch")])
        for _ in range(9):
            pause = self.renewal.was_refused(["a"], "ssl-watch")
        self.assertEqual(pause, MOST_AGAIN)
        self.clock.advance(pause - 1)
        self.assertEqual(len(self.tried), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.tried), 2)

    def test_a_try_that_cannot_be_now_is_made_soon(self) -> None:
        self.renewal.was_refused(["a"], "crl-url")
        self.busy = True
        self.clock.advance(AGAIN)
        self.busy = False
        self.clock.advance(BUSY)
        self.assertEqual(self.tried, [(["a"], "crl-url")])

    def test_what_was_taken_is_forgotten(self) -> None:
        for _ in range(5):
            self.renewal.was_refused(["a"], "crl-url")
        self.renewal.was_taken()
        self.assertEqual((self.renewal.refused, self.clock.getDelayedCalls()), ({}, []))
        self.assertEqual(self.renewal.was_refused(["b"], "crl-url"), AGAIN)
        self.renewal.stop()


class ServiceTests(ServiceTestCase):
    """The whole service on a clock, which is told of a changed file, and does not look by itself."""

    def setUp(self) -> None:
        super().setUp()
        self.crt, self.client = self.write("front.pem"), self.write("client.pem", client=True)
        ca_file = self.authority.write(self.folder / "ca.pem")
        self.start_with(
            self.text(
                "proxy.cfg",
                f"{HEAD}frontend f\n bind {LOOPBACK}:0 ssl crt {self.crt}\n default_backend b\n"
                f"backend b\n server s localhost:1 ssl ca-file {ca_file} crt {self.client} sni str(s.test)\n",
            )
        )

    @property
    def generation(self) -> int:
        context = self.proxy.lines["b/s"].pool.context
        assert context is not None
        return context.generation

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.announced]

    def refused(self) -> tuple[float, list[str]]:
        """What a metric and the page tell of it."""
        view = Reader(self.proxy).view()
        (family,) = of_files(view)
        (sample,) = family.samples
        assert isinstance(sample.value, (int, float))
        return sample.value, [each.text for each in troubles(view, 1e9) if "cannot be used" in each.text]

    def test_an_unrelated_file_holds_it_up_only_as_long_as_it_is_wrong(self) -> None:
        """The new certificate, which might have been a list of revoked ones, is taken up although nothing changes that
        anybody is told of."""
        os.unlink(self.crt)
        self.write("client.pem", "new", client=True)
        self.assertTrue(self.service.renew([self.client], "crl-url"))
        self.reactor.pump([0.5] * 20)
        self.assertEqual(self.generation, 1)
        self.assertIn("all files of TLS stay in use as they were, and are tried again in 30 s", self.texts[-1])
        words = "1 file of TLS has changed and cannot be used: what was there before is in use (see the log)"
        self.assertEqual(self.refused(), (1, [words]))
        self.reactor.pump([0.5] * 60)
        self.assertIn("are tried again in 60 s", self.texts[-1])
        self.write("front.pem")
        self.reactor.pump([0.5] * 150)
        self.assertEqual(self.generation, 2)
        self.assertIn(f"files of TLS ({self.client}) reloaded: 0 of 1 pools kept as they are", self.texts)
        self.assertEqual(self.refused(), (0, []))
        said = len(self.announced)
        self.reactor.pump([1.0] * 200)
        self.assertNotIn("files of TLS", " ".join(self.texts[said:]))

    def test_files_that_have_not_changed_demand_the_same_as_before(self) -> None:
        """Else no server's word would count against a new certificate."""
        before = self.proxy.lines["b/s"].pool.context
        self.write("client.pem", "new", client=True)
        self.service.renew([self.client], "ssl-watch")
        self.reactor.pump([0.5] * 20)
        after = self.proxy.lines["b/s"].pool.context
        assert before is not None and after is not None
        found = after.shows_as(before), after.begins_as(before), after.demands_as(before)
        self.assertEqual(found, (False, True, True))

    def test_a_reload_that_is_ordered_ends_it(self) -> None:
        Path(self.crt).write_text("nothing")
        self.service.renew([self.crt], "crl-url")
        self.reactor.pump([0.5] * 10)
        self.write("front.pem", "new")
        self.service.reload()
        self.reactor.pump([0.5] * 20)
        self.assertEqual(self.refused(), (0, []))
        said = len(self.announced)
        self.reactor.pump([1.0] * 200)
        self.assertNotIn("files of TLS", " ".join(self.texts[said:]))
