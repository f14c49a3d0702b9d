"""Training of GPEN generators on a folder of aligned faces.

The stages of a whole run, each resumable by adding `--resume`:

1. with a high rate, for as long as there is time; the figures of `run/log.txt` tell how it goes:
   `python -m gpen_core train --data faces --out run --batch 4 --rate 0.015 --images 200000 --fall 0.3`
2. to its end: stopped by Ctrl+C and resumed with a number of images that is near. Most is gained while the rate falls:
   `python -m gpen_core train --data faces --out run --batch 4 --rate 0.015 --resume --images 30000 --fall 0.4`
3. with a rival, for crisper features, once the figures stand still:
   `python -m gpen_core train --data faces --out run --batch 4 --rate 0.002 --resume --images 40000 --adversarial 0.15`

`run/ema.safetensors` then loads like any other restorer. `--start-from` begins with trained weights: those of this
pack, to teach them the faces of one's own clients at a low rate; narrower ones, to go on wider; or those of half the
size. On a processor with AMX add `--bf16 --compile`, which halves the time; with glibc,
`MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592` in the environment saves a third; beside other
heavy programs `OMP_NUM_THREADS=1` wastes least.
"""
