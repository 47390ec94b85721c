"""What stands between a downstream data set as it was published and one COCO json that can be trained on."""
