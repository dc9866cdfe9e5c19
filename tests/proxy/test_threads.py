from proxy.threads import Threads

OWN = 0x8000_0000


def test_clients_know_threads_by_the_servers_ids() -> None:
    threads = Threads()
    assert threads.admit(7) == 7
    assert threads.admit(8) == 8
    assert threads.current(7) == 7


def test_a_thread_that_is_not_the_guards_goes_by_its_own_id() -> None:
    assert Threads().current(9) == 9


def test_a_session_with_another_thread_is_still_known_by_the_first_one() -> None:
    threads = Threads()
    threads.admit(7)
    threads.move(7, 1234)
    assert threads.current(7) == 1234
    threads.move(7, 2345)
    assert threads.current(7) == 2345


def test_two_clients_never_know_their_threads_by_the_same_id() -> None:
    # The server was restarted, and counts from the beginning.
    threads = Threads()
    threads.admit(7)
    threads.move(7, 3)
    assert threads.admit(7) == OWN
    assert threads.admit(7) == OWN + 1
    assert [threads.current(known) for known in (7, OWN, OWN + 1)] == [3, 7, 7]
    threads.forget(OWN)
    assert threads.admit(7) == OWN
    threads.forget(7)
    assert threads.admit(7) == 7


def test_a_session_that_has_no_thread_is_not_killed_in_the_place_of_another_one() -> None:
    threads = Threads()
    threads.admit(7)
    threads.lose(7)
    assert threads.current(7) == 0
    assert threads.admit(7) == OWN
    threads.move(7, 9)
    assert threads.current(7) == 9


def test_a_session_that_has_ended_leaves_nothing_behind() -> None:
    threads = Threads()
    threads.admit(7)
    threads.move(7, 1234)
    assert repr(threads) == "<Threads of 1 sessions>"
    threads.forget(7)
    threads.forget(7)
    assert threads.current(7) == 7
    assert repr(threads) == "<Threads of 0 sessions>"
