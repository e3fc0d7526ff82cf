"""Publishes the same workload in each run: forty slow and quick tasks that succeed, fail in two ways, are retried,
revoked, rejected, expired or scheduled for later, in two queues. `settle.py` waits for them.

No worker is running yet. Otherwise, a worker's first event could arrive before the task-sent, and exporters differ in
the queue that they show for such a task.
"""

from itertools import count

from proj import add, app, fail, reject, retry_once, slow, unicode_name, urgent

numbers = count(1)


def publish(task, *args, **options):
    task.apply_async(args, task_id=f"00000000-0000-4000-8000-{next(numbers):012}", **options)


# The first is revoked by `settle.py` before it is due: the worker starts in between.
publish(add, 2, 2, countdown=10)
publish(add, 1, 1, countdown=4)
for n in range(4):
    for seconds in 0.03, 0.06, 0.15:
        publish(slow, seconds, queue="celery")
    publish(add, n, n)
    publish(urgent, 0.06, queue="high")
    publish(fail, n % 2)
publish(urgent, 1.2, queue="high")
publish(urgent, 0.03, queue="high")
publish(fail, 0, queue="high")
publish(fail, 1, queue="high")
publish(unicode_name, "текст")
publish(retry_once, 0, queue="high")
for n in range(6):
    publish(slow, 0.03 * n, queue="high")
publish(reject)
# On AMQP, the broker itself drops a message that expires in its queue, and no more events follow.
if app.conf.broker_url.startswith("redis"):
    publish(add, 3, 3, expires=0.1, queue="high")
print(next(numbers) - 1)
