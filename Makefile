# Each command makes .venv on first use and needs Python 3.11 or newer, make and EGL. Tests and
# checks also install the SDK of every device, which need libusb-1.0 and libGL of the system.
PYTHON ?= python3
BIN := .venv/bin
export MUJOCO_GL ?= egl
# Two cores: more threads than that only fight over them.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check bench clean

demo: .venv/installed  ## Teleoperate, record, train, take over, improve: on the simulated rig.
	$(BIN)/dexhil demo --out runs/demo

# Three workers on two cores: tests against emulators mostly wait.
test: .venv/devices .venv/openpi/installed  ## Every test.
	$(BIN)/pytest -n 3 --dist worksteal -m "not alone"
	$(BIN)/pytest -m alone

check: .venv/devices  ## Format, lint, types, layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/devices  ## Every table of the README.
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train]'
	# Compiles retargeting, once, before anything waits for it.
	$(BIN)/dexhil retarget run --hand leap --keypoints examples/six_poses.npy --out .venv/first.npz
	touch $@

.venv/devices: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,test,devices,remote,view]' \
		--group dev --group oracles --group peers
	touch $@

# openpi's own client, which talks to `dexhil serve` in the tests: it takes no NumPy of today's,
# and forgets to ask for typing_extensions.
.venv/openpi/installed: .venv/installed
	$(PYTHON) -m venv .venv/openpi
	.venv/openpi/bin/pip install --quiet openpi-client==0.1.2 typing_extensions
	touch $@

clean:
	rm -rf .venv build dist *.egg-info runs
