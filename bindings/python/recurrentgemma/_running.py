# SPDX-License-Identifier: Apache-2.0
"""Long calls of the library, made so that Ctrl-C works and Python callbacks cannot lose an exception.

Python runs signal handlers in the main thread only, between two bytecodes; inside a long C call it never does. And an exception
that a handler raises inside a C callback has nowhere to go. So the C call runs on a thread of its own. The thread that asked for it
waits, which Ctrl-C can end, and runs what the callbacks want to be run, so that they seem to be called in the caller's thread.
"""

import atexit
import queue
import signal
import threading
import weakref

from ._interrupt import Interrupt
from ._structures import CONTINUE, STOP

_runs = weakref.WeakSet()
_BLOCKED = signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}  # faults stay visible


class Run:
    """One C call. Its thread holds all that the call uses, so nothing is pulled from under it when the caller goes away."""

    def __init__(self, call, interrupt=None):
        """call(interrupt) makes the C call and returns its status; raising the interrupt shall stop it."""
        self._call = call
        self._interrupt = interrupt or Interrupt()
        self._events, self._answers = queue.SimpleQueue(), queue.SimpleQueue()
        self._thread = None
        self._is_asking = self._is_stopped = False
        self._error = None
        self.status = None

    # On the thread of the call.

    def _work(self, call):
        try:
            if not self._is_stopped:
                self.status = call(self._interrupt)
        except BaseException as error:
            self._error = self._error or error
        finally:
            del call
            self._events.put(None)

    def ask(self, function, *arguments):
        """From a callback: has function(*arguments) called in the caller's thread, and returns the answer."""
        if self._is_stopped:
            return STOP
        self._events.put((function, arguments))
        return self._answers.get()

    def guarded(self, function):
        """The function of a callback, made so that an exception stops the C call and is raised again for the caller."""
        def guard(*arguments):
            try:
                return function(*arguments)
            except BaseException as error:
                self._error = self._error or error
                return STOP
        return guard

    # On the thread of the caller.

    def next(self, answer=CONTINUE):
        """Gives the last event its answer and waits for the next one, a function and its arguments. None: the call has ended.

        Whatever is raised here or while an event is handled, Ctrl-C above all: the caller must then stop() the call.
        """
        if self._thread is None:
            self._start()
        elif self._is_asking:
            self._answers.put(answer)
        event = self._events.get()
        self._is_asking = event is not None
        if event is None:
            self._thread.join()
            if self._error:
                raise self._error
        return event

    def finish(self):
        """Makes the call to its end, runs what events want to be run, and returns its status."""
        try:
            event = self.next()
            while event is not None:
                function, arguments = event
                event = self.next(function(*arguments))
        except BaseException:
            self.stop()
            raise
        return self.status

    def _start(self):
        call, self._call = self._call, None
        self._thread = threading.Thread(target=self._work, args=(call,), name="recurrentgemma", daemon=True)
        _runs.add(self)
        # The thread takes no signals, so that they end the wait of the main one; and none comes while it is being started.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    @property
    def is_stopped(self):
        return self._is_stopped

    def let_go(self):
        """Makes the call end at its next callback, where it may be waiting already. Does not wait: for finalizers."""
        self._call = None
        self._is_stopped = True
        self._answers.put(STOP)

    def stop(self):
        """Makes the call end soon, and waits for it. Harmless when it has ended, or has never begun."""
        self.let_go()
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return
        is_ours_to_clear = not self._interrupt.is_closed and not self._interrupt.is_set()
        if is_ours_to_clear:
            self._interrupt.set()
        thread.join()
        if is_ours_to_clear:
            self._interrupt.clear()  # it may be the host's, for other calls too


@atexit.register
def _stop_all():
    # A thread that waits for an answer would otherwise be frozen inside the library while Python goes away.
    for run in list(_runs):
        run.stop()


def ask_progress(run, progress):
    """The function of a C progress callback that asks the host's: None and False go on, anything else stops."""
    return run.guarded(lambda _, what, done, total: run.ask(answer, progress, what.decode(), done, total))


def answer(function, *facts):
    """What C is told of what the host's function answers."""
    return STOP if function(*facts) else CONTINUE
