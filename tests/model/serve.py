"""Serves a model's file as chat completions on this machine: serve.py FILE PORT. Started by run.py."""

import signal
import sys

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.hostnames = ["127.0.0.1"]
parameters.port = int(sys.argv[2])
parameters.use_jinja = True
parameters.ui = False
parameters.n_ctx = 4096
parameters.n_parallel = 2
parameters.n_gpu_layers = 0
parameters.cpuparams.n_threads = 2
server = xllamacpp.Server(parameters)
signal.pause()
