"""Training of GPEN generators on a folder of aligned faces.

The stages of a whole run, each resumable by adding `--resume`:

1. half size, where a picture costs less than half:
   `python -m gpen_core train --data faces --out small --size 128 --images 80000`
2. full size, grown from it:
   `python -m gpen_core train --data faces --out full --grow-from small/ema.safetensors --images 150000`
3. the same run with a rival, once the figures in `full/log.txt` stand still:
   `python -m gpen_core train --data faces --out full --resume --adversarial 0.02 --rate 0.002 --images 200000`

`full/ema.safetensors` then loads like any other restorer. On a processor with AMX add `--bf16 --compile`, which halves
the time; with glibc, `MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592` in the environment saves a
third; beside other heavy programs `OMP_NUM_THREADS=1` wastes least.
"""
