#!/usr/bin/env bash
# The dispatcher's container: a raylet without resources and the driver beside it; ends when either of them ends.
#
# The two share one container because `ray.init` looks for its raylet in its own process namespace. Arguments go to
# `ray start`. On SIGTERM the driver stops first, while its raylet still carries its last calls; with DISPATCHER_DRAIN_S
# set it waits that long for what is rendering and puts the rest back into the queue.
set -u
: "${COGMILL_RAY__ADDRESS:?must be host:port of the Ray head}"

ray start --block --address "$COGMILL_RAY__ADDRESS" --num-cpus=0 --num-gpus=0 "$@" &
raylet=$!
cogmill dispatch ${DISPATCHER_DRAIN_S:+--drain "$DISPATCHER_DRAIN_S"} &
driver=$!

stopping=
trap 'stopping=yes; kill -TERM "$driver" 2>/dev/null' TERM INT

wait -n "$raylet" "$driver"
status=$?
if [ -n "$stopping" ]; then
  wait "$driver"
  status=$?
fi
trap '' TERM INT
kill -TERM "$driver" "$raylet" 2>/dev/null
wait
exit "$status"
