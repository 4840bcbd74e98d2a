;;; smtps-eshell-driver.el --- An Eshell that tests type into  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What tests share that need a real Eshell.

;;; Code:

(require 'ert)
(require 'eshell)
(require 'esh-mode)
(require 'em-banner)
(require 'em-dirs)
(require 'em-hist)
(require 'smtps-eshell)

(defconst smtps-eshell-test-seconds 20
  "Seconds that anything may take.")

(defmacro smtps-eshell-test-with (&rest body)
  "Run BODY in an Eshell buffer of its own, in a directory of its own."
  (declare (indent 0) (debug t))
  `(let* ((directory (file-name-as-directory (make-temp-file "smtps eshell é" t)))
          (eshell-directory-name directory)
          (eshell-history-file-name nil)
          (eshell-last-dir-ring-file-name nil)
          (eshell-banner-message "")
          (default-directory directory))
     (save-window-excursion
       (unwind-protect
           (with-current-buffer (eshell t)
             (unwind-protect
                 (progn ,@body)
               (let ((kill-buffer-query-functions nil))
                 (mapc #'delete-process (mapcar #'car eshell-process-list))
                 (kill-buffer))))
         (delete-directory directory t)))))

(defun smtps-eshell-test-text ()
  "Return what stands in the buffer."
  (buffer-substring-no-properties (point-min) (point-max)))

(defmacro smtps-eshell-test-until (condition)
  "Wait until CONDITION is true, and fail if that takes too long."
  (declare (debug t))
  `(let ((end (+ (float-time) smtps-eshell-test-seconds)))
     (while (not (or ,condition (> (float-time) end)))
       (accept-process-output nil 0.02))
     (unless ,condition
       (ert-fail (list "Not within the time" ',condition (smtps-eshell-test-text))))))

(defun smtps-eshell-test-type (line)
  "Type LINE."
  (goto-char (point-max))
  (insert line)
  ;; ERT's debugger would come before Eshell, which shows errors itself.
  (let ((debug-on-error nil))
    (call-interactively (key-binding (kbd "RET")))))

(defun smtps-eshell-test-run (line)
  "Type the command LINE, wait for its end, and return what it wrote."
  (let ((from (point-max)))
    (smtps-eshell-test-type line)
    (smtps-eshell-test-until (not eshell-current-command))
    (string-trim (buffer-substring-no-properties
                  (min (point-max) (+ from (length line)))
                  (save-excursion
                    (goto-char (point-max))
                    ;; Newer prompts are fields, which lines would begin behind.
                    (let ((inhibit-field-text-motion t))
                      (line-beginning-position)))))))

(provide 'smtps-eshell-driver)
;;; smtps-eshell-driver.el ends here
