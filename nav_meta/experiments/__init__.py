"""The experiments of Wang et al. (2016) and Duan et al. (2016) beside navigation: task, training, rivals, figure."""
