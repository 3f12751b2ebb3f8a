import unittest

from results.cell import AA, IO_URING, IOS, Cell, Measurement


class Names(unittest.TestCase):
    def test_the_control_has_no_rearm_mode_in_its_name(self) -> None:
        self.assertEqual(Cell("respond", "default", "none", "lazy", 5).variant, "none")

    def test_keys_follow_the_folded_files(self) -> None:
        cell = Cell("respond", "short", "asio", "eager", 5000)
        self.assertEqual(cell.key, "respond+short-asio-eager-5000")

    def test_the_repeated_variant_has_names_of_its_own(self) -> None:
        once, again = (Cell("respond", "default", "asio", "eager", 5, alias)
                       for alias in (None, AA))
        for name in ("key", "label", "variant"):
            self.assertNotEqual(getattr(once, name), getattr(again, name), name)
        self.assertEqual(once.conditions, again.conditions)

    def test_only_names_of_io_uring_say_the_transport(self) -> None:
        epoll, ring = (Cell("respond", "default", "asio", "eager", 5, io=io) for io in IOS)
        self.assertEqual((epoll.key, ring.key),
                         ("respond-asio-eager-5", "respond-asio-eager-5-io_uring"))
        self.assertEqual((epoll.variant, ring.variant), ("asio eager", "asio eager io_uring"))
        self.assertEqual(Cell("respond", "default", "none", "lazy", 5, io=IO_URING).variant,
                         "none io_uring")
        self.assertEqual([Measurement("load", 1, cell).id for cell in (epoll, ring)],
                         ["r01/respond/default/asio/eager/5/load",
                          "r01/respond/default/asio/eager/5/load~io_uring"])
        self.assertEqual(epoll.conditions, ring.conditions)
        self.assertNotEqual(epoll.rivals, ring.rivals)

    def test_ids_of_measurements_keep_their_form(self) -> None:
        cell = Cell("respond", "short", "asio", "eager", 5000, AA)
        self.assertEqual(Measurement("load", 3, cell).id,
                         "r03/respond/short/asio/eager/5000/load~aa")


if __name__ == "__main__":
    unittest.main()
