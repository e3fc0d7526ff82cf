"""The Celery app whose queues and workers are polled: slow tasks, in queues of every kind."""

import json
import os
import time

from celery import Celery
from celery.worker.control import control_command
from kombu import Exchange, Queue

AMQP = os.environ["BROKER"].startswith("amqp")

celery = Exchange("celery", type="direct")
serializer = os.environ.get("TASK_SERIALIZER", "json")
app = Celery("polled", broker=os.environ["BROKER"])
app.conf.update(
    task_serializer=serializer,
    accept_content=["json", serializer],
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ.get("OPTIONS", "{}")),
    task_queues=[
        Queue("celery", celery, routing_key="celery"),
        Queue("high", celery, routing_key="high"),
        Queue("topicq", Exchange("topix", type="topic"), routing_key="t.#"),
    ] + ([
        Queue("quorumq", Exchange("quorumx", type="direct"), routing_key="quorumq",
              queue_arguments={"x-queue-type": "quorum"}),
    ] if AMQP else []),
)


@app.task(name="polled.sleep", acks_late=True)
def sleep(seconds):
    time.sleep(seconds)


@app.task(name="polled.limited", rate_limit="1/h")
def limited():
    pass


@control_command()
def stall(state):
    """Stop consuming but keep the queues, as after a lost connection."""
    consumer = state.consumer.task_consumer
    while consumer._active_tags:
        _, tag = consumer._active_tags.popitem()
        consumer.channel.basic_cancel(tag)
    return {"ok": "stalled"}


@control_command()
def resume(state):
    state.consumer.task_consumer.consume()
    return {"ok": "resumed"}
