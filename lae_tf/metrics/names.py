"""What metrics and rows of means are called in tables, plots and pages."""

from __future__ import annotations

SEEN_MEAN, UNSEEN_MEAN, DROP = SUMMARIES = ("seen mean", "unseen mean", "drop")
TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auroc": "AUROC",
    "average_precision": "AP",
    "eer": "EER",
    "tpr_at_1pct_fpr": "TPR@1%",
    "tpr_at_5pct_fpr": "TPR@5%",
    "brier": "Brier",
    "ece": "ECE",
    "unsure": "unsure",
    "unsure_reals": "unsure, reals",
    "unsure_fakes": "unsure, fakes",
    "accuracy_sure": "accuracy of the sure",
    "iou": "IoU",
    "f1": "F1",
    "pixel_auroc": "pixel AUROC",
    "prior_pixel_auroc": "position prior",
    "matched_pixel_auroc": "matched pixel AUROC",
    "pointing": "pointing",
    "energy_inside": "energy inside",
    "false_alarm_area": "false-alarm area",
    "false_alarms": "false alarms",
    "logit_shift": "shift of reals",
}
