;;; smtps-refused-test.el --- Mail that nobody gets before it is decided  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-mode-line)
(require 'smtps-outbox-ui)

(defconst smtps-refused-test-bad
  (concat (make-string 65 ?x) "@other-host.it")
  "An address that the sandbox refuses: its local part is too long.")

(defun smtps-refused-test-send ()
  "Send a mail to two, of whom the sandbox refuses one; return its id."
  (smtps-real-account :ca-file (smtps-real-property :ca-file))
  (smtps-real-authinfo
   (format "machine localhost login %s password %s"
           (smtps-real-property :user) (smtps-real-property :password)))
  (message-mail (concat "to-address@other-host.it, " smtps-refused-test-bad)
                "To all or none")
  (message-send)
  (plist-get (car (smtps-outbox-entries)) :id))

(defun smtps-refused-test-accepted ()
  "Return the recipients of the mails that the sandbox has, as it wrote them."
  (mapcar (lambda (file)
            (with-temp-buffer
              (insert-file-contents file)
              (goto-char (point-min))
              (buffer-string)))
          (directory-files (expand-file-name "new" (smtps-real-property :maildir))
                           t "\\`[^.]")))

(defun smtps-refused-test-go (id)
  "Go to the line of the mail ID in the outbox."
  (smtps-outbox)
  (goto-char (point-min))
  (while (not (or (eobp) (equal (car (tabulated-list-get-id)) id)))
    (forward-line 1))
  (should (equal (car (tabulated-list-get-id)) id)))

(ert-deftest smtps-refused-test-serve ()
  "By default the others are served, and the refused told."
  (smtps-real-with
    (smtps-refused-test-send)
    (smtps-real-until (equal (smtps-real-state) '(failed)))
    (smtps-real-until (smtps-real-told-p "accepted the message for 1 recipient.+ It refused x+@"))
    (should (= 1 (length (smtps-refused-test-accepted))))))

(ert-deftest smtps-refused-test-hold ()
  "With `hold' nobody gets it, and who was refused is told, until it is decided."
  (smtps-real-with
    (let* ((smtps-refused-recipients 'hold)
           (id (smtps-refused-test-send)))
      (smtps-real-until (equal (smtps-real-state) '(held)))
      (smtps-real-until
       (smtps-real-told-p
        (concat "“To all or none”: localhost refused " smtps-refused-test-bad
                " (“501 \\(5.1.3 \\)?address too long”)\\. Nothing was sent to anyone.+"
                "M-x smtps-outbox: o sends it to the others, e edits it\\.\\'")))
      (should (= 1 (cl-count-if (lambda (told) (string-search "refused" told))
                                smtps-real-told)))
      (should-not (smtps-refused-test-accepted))
      (smtps-mode-line--look)
      (should (string-match-p "!\\'" smtps-mode-line--text))
      ;; That is known after a restart, too.
      (let ((smtps-send--waiting nil)
            (smtps-mode-line--undecided nil))
        (smtps-mode-line--look)
        (should (string-match-p "!\\'" smtps-mode-line--text)))
      (smtps-refused-test-go id)
      (should (string-prefix-p " undecided" (buffer-substring (line-beginning-position)
                                                              (line-end-position))))
      ;; Let go, it would go to the others without a decision.
      (should-error (smtps-outbox-hold) :type 'user-error)
      ;; Tried again, it is for all or none as before.
      (smtps-outbox-retry)
      (smtps-real-until (equal (smtps-real-state) '(held)))
      (smtps-real-until (= 2 (plist-get (smtps-outbox-find id) :attempts)))
      (should-not (smtps-refused-test-accepted))
      (smtps-refused-test-go id)
      (smtps-outbox-send-to-others)
      (smtps-real-until (smtps-real-told-p "accepted the message for 1 recipient"))
      (smtps-real-until (equal (smtps-real-state) '(failed)))
      (should (= 1 (length (smtps-refused-test-accepted))))
      (should (equal (smtps-outbox-left (smtps-outbox-find id))
                     (list smtps-refused-test-bad)))
      (smtps-mode-line--look)
      (should-not (smtps-mode-line--undecided-p)))))

(ert-deftest smtps-refused-test-edit ()
  "What is held can be edited; sent anew, it takes the place of the old one."
  (smtps-real-with
    (let* ((smtps-refused-recipients 'hold)
           (id (smtps-refused-test-send)))
      (smtps-real-until (equal (smtps-real-state) '(held)))
      (smtps-refused-test-go id)
      (smtps-outbox-edit)
      (set-buffer (window-buffer))
      (goto-char (point-min))
      (search-forward smtps-refused-test-bad)
      (replace-match "b@other-host.it")
      (message-send)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (should (= 1 (length (smtps-refused-test-accepted)))))))

(provide 'smtps-refused-test)
;;; smtps-refused-test.el ends here
