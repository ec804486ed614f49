import threading

from dexhil.teleop.errors import ScheduleError
from dexhil.teleop.mailbox import Mailbox


def in_another_thread(work):
    """Run ``work`` in a thread and return what it raised."""
    raised = []

    def run():
        try:
            work()
        except ScheduleError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised


def test_a_mailbox_holds_the_newest_value_with_its_stamp():
    box = Mailbox("proposals")
    assert box.get() is None
    box.put("old", 1.0)
    box.put("new", 2.0)
    assert box.get() == ("new", 2.0, 2)
    assert box.get() == ("new", 2.0, 2), "reading takes nothing out"


def test_a_second_writer_is_refused_and_changes_nothing():
    box = Mailbox("proposals")
    box.put("mine", 1.0)
    (error,) = in_another_thread(lambda: box.put("theirs", 2.0))
    assert isinstance(error, ScheduleError)
    assert "'proposals': two threads write it" in str(error)
    assert box.get() == ("mine", 1.0, 1)


def test_who_writes_is_open_again_once_the_mailbox_is_cleared():
    box = Mailbox("proposals")
    box.put("mine", 1.0)
    box.clear()
    assert box.get() is None
    assert in_another_thread(lambda: box.put("theirs", 2.0)) == []
    letter = box.get()
    assert letter is not None
    assert letter.value == "theirs"


def test_readers_see_whole_letters_while_one_writes():
    box, stop, torn = Mailbox("pairs"), threading.Event(), []

    def read():
        while not stop.is_set():
            letter = box.get()
            if letter is not None and not letter.value == letter.stamp_s == letter.sequence:
                torn.append(letter)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(1, 20_000):
        box.put(i, float(i))
    stop.set()
    reader.join()
    assert torn == []


def test_a_second_thread_cannot_command_a_device_until_the_next_attempt(make_bench):
    bench = make_bench()
    bench.run(0.1)
    n = len(bench.hand.sent)
    (error,) = in_another_thread(bench.session._hand.tick)
    assert "commands to the hand: two threads write it" in str(error)
    assert len(bench.hand.sent) == n
    bench.session.begin()
    assert in_another_thread(bench.session._hand.tick) == []
    assert len(bench.hand.sent) == n + 1
